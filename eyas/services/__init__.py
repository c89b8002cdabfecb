"""What runs beside training: the communication hook, its aggregators, the aggregation service."""
