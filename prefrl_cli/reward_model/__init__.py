"""A learned reward: its models, its fit, its way to the policy, its worth."""
