"""What people do with their accounts, one verb a file; pages, the bot and commands call them."""
