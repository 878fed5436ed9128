/* Links: simtx.simulator.network. */

static Link *link_of(Engine *E, int source, int destination) {
  int number = E->node[source].link[destination];
  if (number < 0) {
    number = ASK(E, link(source, destination));
    if (number < 0) { /* the run is over */
      static Link nowhere = {.plain = 1};
      fail(E, 3);
      return &nowhere;
    }
    E->node[source].link[destination] = number;
  }
  return &E->link[number];
}

/* How many copies are on their way. */
static int transmit(Engine *E, Link *link, int kind, void *thing, int64_t number, int64_t tx) {
  double delay = draw(E, link->draw, tx);
  if (link->plain) { call_in(E, delay, kind, thing, number); return 1; }
  if (link->reorders && draw(E, link->reorder_stream, tx) >= link->reorder) delay += draw(E, link->delay_stream, tx);
  int copied = link->duplicates && draw(E, link->duplication_stream, tx) >= link->duplication;
  if (link->blocked || (link->loses && draw(E, link->loss_stream, tx) >= link->loss)) return 0;
  call_in(E, delay, kind, thing, number);
  if (copied) {
    delay = draw(E, link->copy_latency_stream, tx);
    delay += draw(E, link->copy_delay_stream, tx);
    call_in(E, delay, kind, thing, number);
  }
  return 1 + copied;
}

static int carry(Engine *E, Link *link, int kind, void *thing, int64_t number, int64_t tx) {
  double delay = draw(E, link->draw, tx);
  if (!link->plain) {
    if (link->reorders && draw(E, link->reorder_stream, tx) >= link->reorder) delay += draw(E, link->delay_stream, tx);
    if (link->blocked || (link->loses && draw(E, link->loss_stream, tx) >= link->loss)) return 0;
  }
  call_in(E, delay, kind, thing, number);
  return 1;
}
