from rpd_jax.launch.main import main

main()
