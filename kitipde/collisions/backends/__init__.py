"""How collisions are computed: all agree with the double loop over pairs."""
