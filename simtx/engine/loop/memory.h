/* Memory: what is taken, from where, and what happens when there is none; calls into Python. */

/* Where there is too little memory, C goes back to the call from Python that it is in, which gives `otherwise`; the engine is of no use any more. */
typedef struct { Engine *engine; jmp_buf *outside; } Guard;
static void leave_guard(Guard *guard) { guard->engine->escape = guard->outside; }
#define GUARD(E, otherwise)                                                                                                                    \
  jmp_buf here;                                                                                                                                \
  Guard guard __attribute__((cleanup(leave_guard))) = {(E), (E)->escape};                                                                      \
  (E)->escape = &here;                                                                                                                         \
  if (setjmp(here)) return otherwise;

static void out_of_memory(Engine *E) {
  E->head.error = NO_MEMORY;
  longjmp(*E->escape, 1);
}

/* Other memory in place of what was taken before. */
static void *reserve(Engine *E, void *old, size_t before, size_t size) {
  int64_t more = (int64_t)size - (int64_t)before;
  if (E->head.memory_limit && E->head.memory + more > E->head.memory_limit) out_of_memory(E);
  void *memory = realloc(old, size ? size : 1);
  if (!memory) out_of_memory(E);
  E->head.memory += more;
  return memory;
}
#define RESERVE(E, array, before, size) (array) = reserve((E), (array), (size_t)(before) * sizeof *(array), (size_t)(size) * sizeof *(array))

/* Memory that the caller frees soon. */
static void *borrow(Engine *E, size_t size) {
  void *memory = malloc(size);
  if (!memory) out_of_memory(E);
  return memory;
}

static void *slab(Engine *E, size_t size) {
  if (E->slab_count == E->slab_room) {
    int32_t room = E->slab_room ? 2 * E->slab_room : 64;
    RESERVE(E, E->slabs, E->slab_room, room);
    E->slab_room = room;
  }
  if (E->head.memory_limit && E->head.memory + (int64_t)size > E->head.memory_limit) out_of_memory(E);
  void *memory = calloc(1, size);
  if (!memory) out_of_memory(E);
  E->head.memory += (int64_t)size;
  return E->slabs[E->slab_count++] = memory;
}

#define MAKE_POOL(Type, name, member)                                                                                                          \
  static Type *new_##name(Engine *E) {                                                                                                         \
    if (!E->free_##name) {                                                                                                                     \
      Type *all = slab(E, 256 * sizeof(Type));                                                                                                 \
      for (int i = 0; i < 256; i++) { all[i].member = E->free_##name; E->free_##name = &all[i]; }                                              \
    }                                                                                                                                          \
    Type *one = E->free_##name;                                                                                                                \
    E->free_##name = one->member;                                                                                                              \
    return one;                                                                                                                                \
  }                                                                                                                                            \
  static void free_##name(Engine *E, Type *one) { one->member = E->free_##name; E->free_##name = one; }

MAKE_POOL(Token, token, next)
MAKE_POOL(Flush, flush, next)
MAKE_POOL(Mail, mail, next)
MAKE_POOL(Call, call, next)
MAKE_POOL(RunningMachine, actor, next)
MAKE_POOL(Row, row, next)
MAKE_POOL(Record, record, next)
MAKE_POOL(Ending, ending, next)
MAKE_POOL(Rolled, rolled, next)
MAKE_POOL(Held, held, next)
MAKE_POOL(Waiting, waiting, next)
MAKE_POOL(Job, job, next)
MAKE_POOL(Shipped, shipped, next)
MAKE_POOL(Publication, publication, next)
MAKE_POOL(Parcel, parcel, next)
MAKE_POOL(Seen, seen, next)
MAKE_POOL(Ballot, ballot, next)
MAKE_POOL(InLine, in_line, next)
MAKE_POOL(ProviderCall, asked, next)

/* Put one thing behind the others of a queue; `next`: the field that leads from each to the one behind it. */
#define ENQUEUE(first, last, one, next)                                                                                                        \
  do {                                                                                                                                         \
    if (last) (last)->next = (one);                                                                                                            \
    else (first) = (one);                                                                                                                      \
    (last) = (one);                                                                                                                            \
  } while (0)

/* Take one thing out of a queue that is linked both ways. */
#define UNLINK(first, last, one, before, next)                                                                                                 \
  do {                                                                                                                                         \
    if ((one)->before) (one)->before->next = (one)->next;                                                                                      \
    else (first) = (one)->next;                                                                                                                \
    if ((one)->next) (one)->next->before = (one)->before;                                                                                      \
    else (last) = (one)->before;                                                                                                               \
  } while (0)

static Work *new_work(Engine *E) {
  if (!E->free_work) {
    int room = E->head.slots + 3; /* the lock on the outbox, too */
    for (int i = 0; i < 64; i++) {
      Work *work = slab(E, sizeof(Work));
      work->changed = slab(E, (size_t)room * sizeof(int32_t));
      work->locked = slab(E, (size_t)room * sizeof(int32_t));
      work->values = slab(E, (size_t)room * sizeof(double));
      work->next = E->free_work;
      E->free_work = work;
    }
  }
  Work *work = E->free_work;
  E->free_work = work->next;
  return work;
}

static void hold_work(Work *work) { work->refs++; }
static void let_work(Engine *E, Work *work) {
  if (--work->refs == 0) { work->next = E->free_work; E->free_work = work; }
}

#define GROW(array, used, room, more)                                                                                                          \
  if ((used) + (more) > (room)) {                                                                                                              \
    size_t was = (size_t)(room), is = was ? was : 64;                                                                                          \
    while ((size_t)((used) + (more)) > is) is *= 2;                                                                                            \
    RESERVE(E, array, was, is);                                                                                                                \
    memset((char *)(array) + was * sizeof(*(array)), 0, (is - was) * sizeof(*(array)));                                                        \
    (room) = (__typeof__(room))is;                                                                                                             \
  }

static void fail(Engine *E, int error) {
  if (!E->head.error) E->head.error = error;
}

/* What a call into Python has returned, if it has come to its end: an exception that nobody caught there leaves any number behind. */
static int32_t outcome_of(Engine *E, int32_t result) {
  if (E->head.answered) return result;
  fail(E, 4);
  return -1;
}

#define ASK(E, call) ((E)->head.answered = 0, outcome_of((E), (E)->calls.call))
