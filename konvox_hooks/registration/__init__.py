"""The registration of the receiver at Konvox: what it should be, what it is, and the steps from one to the other."""
