"""Requirements that move with the market and the position: one charge or scaling a file, and the rule of them."""
