"""Everything that reads and writes files and frames. pandas and pyarrow load when a function first needs them.

symbols       instrument names of the venues, to a record and back
tables        CSV and Parquet files into frames, with line numbers
positions     positions and collateral into a Book
chain         rows of an option chain into a Snapshot: instruments, market, quotes
deribit       Deribit chains from CSV, Parquet and frames
deribit_json  Deribit chains from the venue's own JSON payloads
market_json   our own market snapshot file
results       frames and documents out: CSV, Parquet, JSON
atomic        files that are there whole or not at all
"""
