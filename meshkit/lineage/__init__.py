"""`meshkit.lineage`: where data comes from and who is hurt if it changes."""
