"""What a fitted model answers: predictions, summaries, updates and files."""
