"""What runs beside the GPU: it knows neither the database nor who sent the work."""
