"""What is asked, who answers, and what is learned from the answers."""
