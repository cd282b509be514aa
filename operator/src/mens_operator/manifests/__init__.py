"""What it looks like as an object: pure builders of Jobs, Deployments and Services."""
