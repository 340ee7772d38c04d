"""What is wrong, and how it is told: findings of outages, of stages' reports, of pipelines that collect nothing."""
