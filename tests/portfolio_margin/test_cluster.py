"""More than one machine: the same bits for any number of workers, with workers lost on the way, and clear refusals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from portfolio_margin import cluster
from portfolio_margin.cluster import ClusterError, connect, over_accounts
from portfolio_margin.io.part_files import UnwrittenError, part_folder
from portfolio_margin.io.partitions import BookFiles, partitions
from portfolio_margin.margin_parts import Part, head_of, margin_of_partition, write_manifest
from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, sample_path
from pricing import ConfigError, DataError
from pricing.errors import Problem
from tests.portfolio_margin.books import ARRAYS
from tests.portfolio_margin.cluster_tasks import divides, kills, refuses
from tests.portfolio_margin.test_cli import check_fails, run  # noqa: F401 - a fixture
from tests.portfolio_margin.test_partitions import MODEL, job_of, written

WORKERS = 3
HEAD = set(head_of("", ARRAYS, MODEL, 9))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect(workers=WORKERS) as client:
        yield client


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def run_on(client: Any, files: BookFiles, folder: Path, finished: Any = None) -> dict[str, bytes]:
    """The files that a run on a cluster leaves, or one in this process where there is none."""
    head = head_of("book", ARRAYS, MODEL, 10)
    with part_folder(folder, head, False) as place:
        job, parts = job_of(files, place, run=head["digest"]), partitions(files, 10)
        if client is None:
            done = [margin_of_partition(job, part) for part in parts]
        else:
            done = over_accounts(margin_of_partition, job, parts, client, finished)
        write_manifest(place, head, done)
    return contents(folder)


def test_every_result_in_order(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many more parts than are under way at a time; what they share is sent once."""
    seen: list[int] = []
    sent: list[Any] = []
    scatter = client.scatter
    monkeypatch.setattr(client, "scatter", lambda data, **how: (sent.append(data), scatter(data, **how))[1])
    assert over_accounts(refuses, {}, list(range(100)), client, seen.append) == list(range(100))
    assert sorted(seen) == list(range(100)) and sent == [[{}]]
    assert over_accounts(refuses, {}, [], client) == []


def test_bad_rows_of_all_partitions_are_listed(client: Any) -> None:
    problems = {n: [Problem("book", row, "quantity", 0, "is bad") for row in (100 - n, 200 - n)] for n in (3, 40)}
    with pytest.raises(DataError) as error:
        over_accounts(refuses, problems, list(range(50)), client)
    assert [problem.row for problem in error.value.problems] == [60, 97, 160, 197]


def test_thousands_of_bad_rows_are_told_as_on_one_machine(client: Any) -> None:
    """Of an error that a worker raises, Dask cuts off what is long, and its kind with it."""
    problems = {n: [Problem("book", n * 1_000 + row, "quantity", 0, "is bad") for row in range(900)] for n in (1, 3)}
    with pytest.raises(DataError) as error:
        over_accounts(refuses, problems, list(range(5)), client)
    assert {problem.row for problem in error.value.problems} <= {p.row for part in problems.values() for p in part}
    assert len(error.value.problems) + sum(error.value.unlisted.values()) == 1_800


def test_other_errors_end_a_run(client: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        over_accounts(divides, 1, [2, 1, 0, 1], client)
    assert over_accounts(divides, 1, [2, 1], client) == [0.5, 1.0]


def sample_files(folder: Path) -> list[str]:
    """The options that name the sample's book as Parquet."""
    options = []
    for option, name in (("--positions", POSITIONS_FILE), ("--collateral", COLLATERAL_FILE)):
        file = folder / f"{name}.parquet"
        pd.read_csv(sample_path(name)).to_parquet(file, row_group_size=50)
        options += [option, str(file)]
    return options


def test_the_command(client: Any, run: Any, tmp_path: Path) -> None:  # noqa: F811
    files = sample_files(tmp_path)
    on_cluster = ["--cluster", client.scheduler.address, "--chunk-accounts", "9", "--output", "out"]
    done = run("margin", *files, *on_cluster)
    assert done.code == 0 and "wrote out: 56 accounts in 7 files, and _manifest.json" in done.err, done
    frame = pd.concat([pd.read_parquet(file) for file in sorted((tmp_path / "out").glob("*.parquet"))])
    here = run("margin", *files, "--chunk-accounts", "9", "--output", "here")
    assert here == done._replace(err=done.err.replace("out", "here"))
    assert contents(tmp_path / "here") == contents(tmp_path / "out")
    assert run("margin", *files, "--parquet", "whole.parquet").code == 0
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    pd.testing.assert_frame_equal(frame.reset_index(drop=True), whole, check_exact=True)
    footer = [line for line in run("margin", *files).out.splitlines() if " accounts: " in line or "totals:" in line]
    assert [line for line in done.out.splitlines() if " accounts: " in line or "totals:" in line] == footer
    check_fails(run("margin", *files, *on_cluster), "out, output = '_manifest.json': holds results already")
    assert run("margin", *files, *on_cluster[:-1], "again", "--check").code == 1


def test_open_orders_go_along(client: Any, run: Any, tmp_path: Path) -> None:  # noqa: F811
    files = sample_files(tmp_path)
    rows = "perpetual-long-01,BTC-PERPETUAL,50000\nnaked-call-seller-01,BTC-PERPETUAL,1000\n"
    (tmp_path / "orders.csv").write_text("account,instrument,quantity\n" + rows, encoding="utf-8")
    orders = ("--open-orders", "orders.csv")
    done = run("margin", *files, *orders, "--cluster", client.scheduler.address, "--output", "out")
    assert done.code == 0, done.err
    frame = pd.concat([pd.read_parquet(file) for file in sorted((tmp_path / "out").glob("*.parquet"))])
    assert run("margin", *files, *orders, "--parquet", "whole.parquet").code == 0
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    assert frame["initial_margin"].tolist() == whole["initial_margin"].tolist()
    assert (frame["order_margin"] > 0.0).sum() == 2
    (tmp_path / "orders.csv").write_text("account,instrument,quantity\nzz,BTC-PERPETUAL,1\n", encoding="utf-8")
    done = run("margin", *files, *orders, "--cluster", client.scheduler.address, "--output", "other")
    assert "row 2, account = 'zz': no such account in the book" in done.err


def test_an_interrupted_run_goes_on(client: Any, run: Any, tmp_path: Path) -> None:  # noqa: F811
    """Parts missing, damaged, and of another one; what is there is not computed again, and the files come out alike."""
    files = sample_files(tmp_path)
    on_cluster = [*files, "--cluster", client.scheduler.address, "--chunk-accounts", "9", "--output", "out"]
    first = run("margin", *on_cluster)
    whole, out = contents(tmp_path / "out"), tmp_path / "out"
    (out / "part-000001.parquet").unlink()
    (out / "part-000003.parquet").write_bytes(whole["part-000003.parquet"][:1_000])
    (out / "part-000005.parquet").write_bytes(whole["part-000004.parquet"])
    begun = {name: value for name, value in json.loads(whole["_manifest.json"]).items() if name in HEAD}
    (out / "_manifest.json").write_text(json.dumps(begun))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    again = run("margin", *on_cluster, "--resume")
    assert (
        "wrote out: 56 accounts in 7 files, 4 of them from before, and _manifest.json" in again.err
        and again.out == first.out
    )
    assert contents(out) == whole
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert {name for name in after if after[name] != before.get(name)} == {
        f"part-{number:06d}.parquet" for number in (1, 3, 5)
    }
    check_fails(run("margin", *on_cluster, "--resume", "--param", "haircut=0.1"), "inputs.parameters", "another run")


def test_a_bad_row_leaves_nothing(client: Any, run: Any, tmp_path: Path) -> None:  # noqa: F811
    files = sample_files(tmp_path)
    frame = pd.read_parquet(files[1])
    frame.loc[[7, 150], "quantity"] = float("inf")
    frame.to_parquet(files[1])
    done = run("margin", *files, "--cluster", client.scheduler.address, "--chunk-accounts", "9", "--output", "out")
    check_fails(done, "row 8, quantity = inf", "row 151, quantity = inf")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(Path(name).name for name in files[1::2])


def test_what_cannot_be_written_leaves_what_was(client: Any, tmp_path: Path) -> None:
    """Workers that find no folder raise what they raise on a full disk."""
    files, head = written(tmp_path), head_of("book", ARRAYS, MODEL, 10)
    with (
        pytest.raises(
            UnwrittenError,
            match=r"part-\d+\.parquet cannot be written: its folder is not there; .* go on with --resume",
        ),
        part_folder(tmp_path / "out", head, False) as place,
    ):
        first, *others = partitions(files, 10)
        over_accounts(margin_of_partition, job_of(files, place, run=head["digest"]), [first], client)
        over_accounts(margin_of_partition, job_of(files, tmp_path / "away", run=head["digest"]), others, client)
    assert sorted(contents(tmp_path / "out")) == ["_manifest.json", "part-000000.parquet"]


def test_interrupts_are_for_who_connects(client: Any) -> None:
    """Ctrl-C reaches all processes of a terminal: workers of this machine are not to end by themselves."""
    before = client.run(os.getpid)
    for worker in before.values():
        os.kill(worker, signal.SIGINT)
    assert client.run(os.getpid) == before
    assert all(
        signal.SIGINT in blocked for blocked in client.run(signal.pthread_sigmask, signal.SIG_BLOCK, []).values()
    )
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_lost_worker_costs_time_not_results(client: Any, tmp_path: Path) -> None:
    files = written(tmp_path)
    killed: list[int] = []

    def kill_one(part: Part) -> None:
        if not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    client.wait_for_workers(WORKERS, timeout=120)
    expected = run_on(None, files, tmp_path / "here")
    assert run_on(client, files, tmp_path / "killed", kill_one) == expected
    assert len(killed) == 1 and len(expected) == 13


def test_a_port_in_use_and_a_lost_worker(recwarn: pytest.WarningsRecorder) -> None:
    """Where something listens where Dask has its pages by default, nothing is said; of a lost worker one line is."""
    told: list[str] = []
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # somebody else has it: as good
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        with connect("local", 1, told.append) as client:
            client.wait_for_workers(1, timeout=120)
            [(before, number)] = client.run(os.getpid).items()
            os.kill(number, signal.SIGKILL)
            deadline = time.monotonic() + 60.0
            while before in client.nthreads() and time.monotonic() < deadline:
                time.sleep(0.05)
    assert told == ["1 worker was lost on the way: what was theirs was computed again"]
    assert not [str(warning.message) for warning in recwarn if "Port" in str(warning.message)]


def test_what_is_shared_is_sent_again_where_all_workers_are_lost(client: Any, tmp_path: Path) -> None:
    files = written(tmp_path)
    killed: set[int] = set()

    def kill_all(part: Part) -> None:
        if not killed:
            killed.update(client.run(os.getpid).values())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    # The worker that the last test has lost may still be starting again, and one that starts is none to kill.
    client.wait_for_workers(WORKERS, timeout=120)
    assert len(client.run(os.getpid)) == WORKERS
    assert run_on(client, files, tmp_path / "killed", kill_all) == run_on(None, files, tmp_path / "here")
    assert len(killed) == WORKERS


def test_the_same_bits_on_any_number_of_workers(client: Any, tmp_path: Path) -> None:
    """After this test one worker is left."""
    files = written(tmp_path, seed=2)
    expected = run_on(None, files, tmp_path / "here")
    client.wait_for_workers(WORKERS, timeout=120)
    for workers in range(WORKERS, 0, -1):
        assert len(client.nthreads()) == workers
        assert run_on(client, files, tmp_path / f"{workers}") == expected
        if workers > 1:
            client.retire_workers([next(iter(client.nthreads()))])


def test_a_part_that_ends_its_workers_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the one worker that is left, so what is shared is lost with it."""
    monkeypatch.setattr(cluster, "LOSSES_IN_A_ROW", 0)
    with pytest.raises(ClusterError, match=r"all workers were lost 1 times.*take fewer accounts to a part"):
        over_accounts(kills, 2, [0, 1, 2], client)


@pytest.mark.parametrize("address", ["nowhere", "foo://machine:1", "tcp://127.0.0.1:{port}"])
def test_no_scheduler_at_an_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        given = address.format(port=unused.getsockname()[1])
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at '{given}'"), connect(given):
            pass


def test_workers_are_of_a_local_cluster() -> None:
    with pytest.raises(ConfigError, match="has its own"), connect("tcp://machine:1", workers=2):
        pass
    with pytest.raises(ConfigError, match="workers = 0"), connect(workers=0):
        pass


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"install portfolio-margin\[cluster\]"), connect():
        pass


def test_options_that_do_not_go_together(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    files = sample_files(tmp_path)
    for options, said in {
        ("--cluster", "local"): "--positions BOOK.parquet and --output FOLDER",
        (*files, "--cluster", "local"): "--positions BOOK.parquet and --output FOLDER",
        (*files, "--cluster", "local", "--output", "out", "--json"): "--json has no effect beside --cluster",
        (*files, "--workers", "2"): "--workers has no effect without --cluster",
        (*files, "--cluster", "nowhere", "--output", "out"): "no Dask scheduler answers at 'nowhere'",
        ("--positions", "book.csv", "--cluster", "local", "--output", "out"): "save it as .parquet",
    }.items():
        check_fails(run("margin", *options), said)
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run("margin", *files, "--cluster", "local", "--output", "out")
    check_fails(done, "a cluster needs Dask (distributed is missing): install portfolio-margin[cluster]")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
