"""What is known of JPEG: tables, file headers, estimation from pixels, consistency."""
