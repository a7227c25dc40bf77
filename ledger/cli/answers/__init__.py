"""The audit's answers as text for a terminal, a file per question. Times are shown in the reader's zone."""
