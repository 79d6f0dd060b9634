"""Where orders meet: admission, books, auctions, matching and its reports."""
