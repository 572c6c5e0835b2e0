//! The store on Redis: one Lua file a transition, one typed function a file.
