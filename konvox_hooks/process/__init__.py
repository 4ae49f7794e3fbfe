"""What every process of ours needs: its log, its signals, its end in time, and how another one is started."""
