"""What is remembered: the gym, LangGraph's saver, the programs on disk."""
