"""What every job shares: reading MENS_JOB, ending with a reason, the limits of its machine."""
