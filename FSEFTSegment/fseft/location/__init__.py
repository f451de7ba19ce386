"""The location prior: support scans registered to a query carry their annotations there."""
