"""What may be asked of a job: the schemas by which the REST side and batches read what a client sent."""
