/* The log device, with group commit: simtx.simulator.disk. */

static void call_back(Engine *E, Flush *flush);

static inline int at_once(Disk *disk) { return disk->instant && !disk->stalled; }

static void note_instant(Engine *E, Disk *disk) {
  disk->durable_until = E->head.now;
  disk->flushes++;
}

/* A write that is to be forced. */
static Flush *make_flush(Engine *E, Flush what) {
  Flush *flush = new_flush(E);
  *flush = what;
  return flush;
}

static void start_flush(Engine *E, int number) {
  Disk *disk = &E->node[number].disk;
  Flush *batch = disk->head;
  if (disk->flush == SERIAL) {
    disk->head = batch->next;
    if (!disk->head) disk->tail = NULL;
    batch->next = NULL;
  } else {
    disk->head = disk->tail = NULL;
  }
  disk->busy = 1;
  disk->flushes++;
  double duration = draw(E, disk->stream, batch->tx);
  disk->busy_time += duration;
  batch->epoch = disk->epoch;
  batch->start = E->head.now;
  call_in(E, duration, BATCH, batch, number);
}

static void force(Engine *E, int number, Flush *flush, int64_t tx) {
  Disk *disk = &E->node[number].disk;
  flush->node = number;
  flush->tx = tx;
  flush->next = NULL;
  if (disk->flush == PARALLEL && !disk->stalled) {
    disk->flushes++;
    flush->epoch = disk->epoch;
    flush->start = E->head.now;
    call_in(E, draw(E, disk->stream, tx), FLUSHED, flush, number);
    return;
  }
  ENQUEUE(disk->head, disk->tail, flush, next);
  if (!disk->busy && !disk->stalled) start_flush(E, number);
}

/* The device takes writes again. */
static void resume_disk(Engine *E, int number) {
  Disk *disk = &E->node[number].disk;
  disk->stalled = 0;
  if (!disk->head || disk->busy) return;
  if (disk->flush != PARALLEL) { start_flush(E, number); return; }
  Flush *waiting = disk->head;
  disk->head = disk->tail = NULL;
  while (waiting) {
    Flush *next = waiting->next;
    force(E, number, waiting, waiting->tx);
    waiting = next;
  }
}

static void flushed(Engine *E, Flush *flush) {
  Disk *disk = &E->node[flush->node].disk;
  if (flush->epoch != disk->epoch) return;
  if (flush->start > disk->durable_until) disk->durable_until = flush->start;
  call_back(E, flush);
}

/* Forget every write that was not durable yet. */
static void crash_disk(Engine *E, Disk *disk) {
  disk->epoch++;
  while (disk->head) {
    Flush *next = disk->head->next;
    free_flush(E, disk->head);
    disk->head = next;
  }
  disk->tail = NULL;
  disk->busy = 0;
}

static void batch_flushed(Engine *E, Flush *batch, int number) {
  Disk *disk = &E->node[number].disk;
  int epoch = disk->epoch;
  if (batch->epoch != epoch) return;
  disk->busy = 0;
  disk->durable_until = batch->start;
  while (batch) {
    Flush *next = batch->next;
    call_back(E, batch);
    if (epoch != disk->epoch) return; /* it ran into an aimed crash */
    batch = next;
  }
  if (disk->head && !disk->busy && !disk->stalled) start_flush(E, number);
}
