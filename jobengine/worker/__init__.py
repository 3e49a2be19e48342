"""WORKS: takes jobs of a daemon and has handlers run them. Speaks by way of client/."""
