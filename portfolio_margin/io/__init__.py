"""Everything that reads and writes files and frames. pandas and pyarrow load when a function first needs them.

symbols       instrument names of the venues, to a record and back
tables        CSV, Parquet and Arrow files into frames, with line numbers
arrow_tables  tables of Arrow, checked before they are read; arrow_columns: their texts as codes
positions     positions and collateral into a Book; open_orders: orders that may fill
chain_rows    rows of an option chain as read, and everything that can be wrong with one
chain         those rows into a Snapshot: instruments, market, quotes
deribit       Deribit chains from CSV, Parquet and frames
deribit_json  Deribit chains from the venue's own JSON payloads
deribit_margin  parameters of Deribit's margin from its replies, and a simulate reply made again
market_json   our own market snapshot file
arrays_file   risk array files
span_file     SPAN risk parameter files of either kind, by their name
span_xml      reader of .spn; span_elements: what its elements mean; span_write: writer
span_pa2      reader of .pa2; span_layout: where its fields stand; span_records: lines into columns; span_rules: rules
span_runs     options of .spn by pattern; span_finish: what is left to do once all rows are read
span_source   SPAN files as streams, and where in them a record stands; span_rows: rows of the tables while read
parameters    parameter sets from plain values, name by name
parameter_sets  dated parameter sets of the margin models; parameter_archive: writing them
part_files    a folder of result files and its manifest; partitions: a Parquet book in parts
told          what is told of the market behind a result
frames        named columns into frames
results       frames and documents out: CSV, Parquet, JSON
atomic        files that are there whole or not at all
clock         seconds that are left of a time limit
"""
