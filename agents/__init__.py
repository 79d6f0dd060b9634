import economy  # noqa: F401  (first: it names the folder of the compiled functions)
