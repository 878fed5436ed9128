/* The log of a node: which records it holds, and what of them a crash takes: simtx.simulator.node_log. */

static inline int buffered(Engine *E, Node *node, double since) { return E->head.now - since <= node->lazy_flush; }

static void free_records(Engine *E, Record *records) {
  while (records) {
    Record *next = records->next;
    free_record(E, records);
    records = next;
  }
}

static void not_lazy(Record *records) {
  for (; records; records = records->next) records->lazy = 0;
}

/* A record is written: the log of the node holds it, and a forced one takes the earlier ones of its transaction along. */
static void append(Engine *E, RunningMachine *actor, int what, int forced) {
  if (actor->tx < 0) { fail(E, 11); return; }
  E->tx[actor->tx].durable |= 1u << actor->node;
  if (!E->head.crashes) return;
  Node *node = &E->node[actor->node];
  Place *place = have_place(E, actor->tx, actor->node);
  for (Record *one = place->records; one; one = one->next)
    if (one->what == what && (one->lazy || !forced)) { fail(E, 10); return; } /* Python tells records apart by identity */
  Record *one = new_record(E);
  *one = (Record){what, !forced, E->head.now, NULL};
  ENQUEUE(place->records, place->last_record, one, next);
  if (!forced) {
    actor->lazy = 1;
  } else if (actor->lazy) {
    not_lazy(place->records);
    for (Ending *ending = node->first_ending; ending; ending = ending->next)
      if (ending->tx == actor->tx) not_lazy(ending->records);
  }
}

/* What is left of records when lazy ones in memory are gone; what is left is on the disk. */
static Record *left_of(Engine *E, Node *node, Record *records, Record **last) {
  Record *first = NULL, *end = NULL;
  while (records) {
    Record *one = records;
    records = one->next;
    one->next = NULL;
    if (one->lazy && buffered(E, node, one->since)) {
      free_record(E, one);
      continue;
    }
    one->lazy = 0;
    ENQUEUE(first, end, one, next);
  }
  *last = end;
  return first;
}
