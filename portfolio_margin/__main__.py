"""`python -m portfolio_margin` is the command line."""

from portfolio_margin.cli import main

if __name__ == "__main__":
    main()
