"""What runs inside `langgraph dev`, beside the graphs."""
