"""Back-tests of margin: parameter sets and models side by side, over one history and one library of books."""
