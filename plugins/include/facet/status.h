/* The one list of outcomes. The plugin ABI, the wire, the C API and the C++ code all use these numbers, so a
 * failure keeps its meaning from a kernel to an app. Numbers are never reused; new ones go at the end.
 *
 * This header is plain C, depends on nothing, and may be included by every part of the project. */
#ifndef FACET_STATUS_H_
#define FACET_STATUS_H_

#ifdef __cplusplus
extern "C" {
#endif

typedef enum facet_status {
  FACET_OK = 0,
  FACET_CANCELLED = 1,         /* the caller, or the peer, asked for the end */
  FACET_INVALID_ARGUMENT = 2,  /* a value that no retry makes valid; the message names it */
  FACET_NOT_FOUND = 3,         /* no model, file, plugin or device of that name */
  FACET_UNSUPPORTED = 4,       /* well-formed, but this build, plugin or model cannot do it */
  FACET_EXHAUSTED = 5,         /* a limit or a budget is used up now; a later try may succeed */
  FACET_TOO_LARGE = 6,         /* beyond a bound that waiting does not change */
  FACET_DENIED = 7,            /* the policy refuses this peer */
  FACET_UNAVAILABLE = 8,       /* the daemon is not there, or is stopping */
  FACET_ENGINE_LOST = 9,       /* the engine process ended while it worked on this */
  FACET_DEVICE_LOST = 10,      /* the backend's device stopped working */
  FACET_MALFORMED = 11,        /* bytes from outside break the format they claim */
  FACET_VERSION_MISMATCH = 12, /* the two sides share no version */
  FACET_TIMEOUT = 13,          /* the given time passed first */
  FACET_IO = 14,       /* the operating system refused a read, write or map; the message has errno's text */
  FACET_INTERNAL = 15, /* a bug in Facet or in a plugin */
  FACET_DEADLINE = 16, /* it cannot be done by the time that the caller gave; nothing was begun */
} facet_status;

/* The status's name as it stands in JSON, logs and manuals: "ok", "invalid_argument", "engine_lost", ...
 * "unknown" for a number that is not in the list. Never NULL. */
static inline const char* facet_status_name(facet_status status) {
  switch (status) {
    case FACET_OK:
      return "ok";
    case FACET_CANCELLED:
      return "cancelled";
    case FACET_INVALID_ARGUMENT:
      return "invalid_argument";
    case FACET_NOT_FOUND:
      return "not_found";
    case FACET_UNSUPPORTED:
      return "unsupported";
    case FACET_EXHAUSTED:
      return "exhausted";
    case FACET_TOO_LARGE:
      return "too_large";
    case FACET_DENIED:
      return "denied";
    case FACET_UNAVAILABLE:
      return "unavailable";
    case FACET_ENGINE_LOST:
      return "engine_lost";
    case FACET_DEVICE_LOST:
      return "device_lost";
    case FACET_MALFORMED:
      return "malformed";
    case FACET_VERSION_MISMATCH:
      return "version_mismatch";
    case FACET_TIMEOUT:
      return "timeout";
    case FACET_IO:
      return "io";
    case FACET_INTERNAL:
      return "internal";
    case FACET_DEADLINE:
      return "deadline";
  }
  return "unknown";
}

#ifdef __cplusplus
}
#endif
#endif /* FACET_STATUS_H_ */
