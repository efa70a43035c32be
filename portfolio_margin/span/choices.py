"""What the public description of SPAN leaves open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choices:
    """What the public description leaves open, and how it is taken here; the first of `KNOWN` is the default.

    account_type     whose rates: H hedger, M member, S speculator, as the file calls them; "" the first of the file
    adjustment       what the file's own factor of a single level is: "maintenance" leaves the risk itself as initial
                     margin (Takasbank: 0.75), "both" applies it to both
    delta_scale      "contract" counts a contract with the scale of its own and its family, "none" as one delta
    option_delta     where the delta of an option on a future belongs: "underlying" to the period of the future, "own"
                     to its own
    option_value_cap whose option value helps no other commodity: those that the "file" says, "always" all, "never" any
    risk_exponent    "none" takes amounts as the tables hold them, in which those of positional files are multiplied
                     out already; "apply" multiplies by ten to the exponent, for XML files that need it
    scan_tiers       "apart": tiers for scanning have a scan risk of their own each, and these add up; "together": as
                     if there were none
    percent_of       what a percent charge is a share of: "far_leg_value", or "" to refuse files with such charges
    """

    account_type: str = ""
    adjustment: str = "maintenance"
    delta_scale: str = "contract"
    option_delta: str = "underlying"
    option_value_cap: str = "file"
    risk_exponent: str = "none"
    scan_tiers: str = "apart"
    percent_of: str = ""


# What each choice may be; account types are those of a file.
KNOWN = {
    "adjustment": ("maintenance", "both"),
    "delta_scale": ("contract", "none"),
    "option_delta": ("underlying", "own"),
    "option_value_cap": ("file", "always", "never"),
    "risk_exponent": ("none", "apply"),
    "scan_tiers": ("apart", "together"),
    "percent_of": ("", "far_leg_value"),
}
