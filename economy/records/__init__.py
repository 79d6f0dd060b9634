"""What happened: layout, canonical order and digest of events."""
