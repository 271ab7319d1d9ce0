"""Reading the tables of finished runs: studies, statistics, charts."""
