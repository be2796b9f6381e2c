"""The suite "metaworld": Meta-World's 50 tasks, simulated in processes of a virtual environment of their own."""
