"""How fast the market is: `escape bench market`, or `python -m bench.market`."""
