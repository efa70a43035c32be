"""Where is the edge? How far an account is from its maintenance margin, in price, vol and time."""
