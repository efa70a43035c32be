"""Liquidation: what is closed, transferred and charged when an account is short of margin, and who bears a deficit."""
