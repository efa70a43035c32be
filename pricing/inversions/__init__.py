"""One file = the inverse of one pricing model: implied_vol(xp, ...), branch-free arithmetic over `xp`."""
