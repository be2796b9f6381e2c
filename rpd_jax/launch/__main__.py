from rpd_jax.launch.main import main

if __name__ == "__main__":  # not in the processes that multiprocessing spawns
    main()
