"""The worker behind zsched.Worker. README.md of the package has its layers."""
