/* What Python samples and counts: simtx.simulator.sampler, simtx.simulator.window. */

/* Pool, disk and store of a node: what simtx.simulator.window reads. */
typedef struct { double busy_time, work, since, disk_busy, locks_held; int64_t locks_taken, lock_queue; int32_t busy, queue, prepared, rows, held, expired; Station waiting, served, waits; } Figures;
EXPORT int engine_figures_size(void) { return (int)sizeof(Figures); }
EXPORT void engine_figures(Engine *E, int number, Figures *figures) {
  Node *node = &E->node[number];
  Pool *pool = &node->pool;
  *figures = (Figures){pool->busy_time, pool->work, pool->since, node->disk.busy_time, node->locks_held, node->locks_taken, node->lock_queue,
                       pool->workers - pool->free, pool->waiting_count, node->prepared, node->rows, node->held, node->expired, pool->waiting, pool->served, node->lock_waits};
}
/* Samples of the timeline: simtx.simulator.sampler. Python takes some, too, and fetches those that were taken here before. */

/* Nothing happens at this time before its sample. */
static uint64_t sample_key(Engine *E) { return (uint64_t)URGENT << 62 | E->head.seq++ << 6; }

/* Begin to sample, at once. */
EXPORT void engine_start_samples(Engine *E, double step, int64_t doubling) {
  E->samples.due = 0.0;
  E->samples.step = step;
  E->samples.doubling = doubling;
  E->samples.key = sample_key(E);
}

/* The figures that were sampled; they are of no use any more when the next ones are taken. */
EXPORT double *engine_samples(Engine *E, int64_t *cells) {
  *cells = E->samples.cells;
  E->samples.cells = 0;
  return E->samples.row;
}

/* A sample in the order of simtx.metrics.timeline.columns; gives the number of its figures. */
EXPORT int engine_sample(Engine *E, double *row) {
  Head *H = &E->head;
  double *at = row, in_doubt = 0.0;
  for (int i = 0; i < H->nodes; i++) in_doubt += E->node[i].prepared;
  *at++ = H->now;
  *at++ = H->quantities ? E->gauge[0].net : 0.0;
  *at++ = H->quantities ? E->gauge[0].gross : 0.0;
  *at++ = (double)H->unsettled;
  *at++ = (double)H->undecided;
  *at++ = in_doubt;
  for (int i = 0; i < H->nodes; i++) {
    Node *node = &E->node[i];
    if (!node->has_store) continue;
    *at++ = node->pool.waiting_count;
    *at++ = node->pool.workers - node->pool.free;
    *at++ = (double)node->lock_queue;
    if (!H->has_broker) continue;
    *at++ = node->rows;
    *at++ = node->held;
  }
  return (int)(at - row);
}

/* Take the sample that is due. */
static void take_sample(Engine *E) {
  Samples *S = &E->samples;
  E->head.now = S->due;
  GROW(S->row, S->cells, S->room, 6 + 5 * E->head.nodes)
  S->cells += engine_sample(E, S->row + S->cells);
  if (E->head.over && S->doubling && ++S->since % S->doubling == 0) S->step *= 2;
  S->due += S->step;
  S->key = sample_key(E);
}

/* Python has brought a pool's busy time up to now. */
EXPORT void engine_account(Engine *E, int number, double busy_time, double since) {
  E->node[number].pool.busy_time = busy_time;
  E->node[number].pool.since = since;
}
