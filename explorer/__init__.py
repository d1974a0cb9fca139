"""The explorer: plans and faces on a local page, computed while a slider moves."""
