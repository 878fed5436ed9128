/* Who came, who went and how long they stayed: simtx.metrics.stations. */

static void enter(Station *station, double now) { station->arrivals++; station->present++; station->entries += now; }
static void leave(Station *station, double now, double since) {
  station->departures++; station->present--; station->exits += now; station->stayed += now - since;
}

static void clear_station(Station *station, double now) {
  station->exits += now * (double)station->present;
  station->present = 0;
}
