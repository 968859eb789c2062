"""python -m zsched: see --help."""
from zsched._worker.command import main

if __name__ == "__main__":
    main()
