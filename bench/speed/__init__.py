"""How fast this project is beside its peers, and where its time goes. See docs/performance.md."""
