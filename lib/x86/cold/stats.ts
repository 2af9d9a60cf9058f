/** For `--stats`: what the cold tier has made and done. */
export const stats = {
  blocks: 0,
  records: 0,
  handlers: 0,
  batches: 0,
  bytes: 0,
  ms: 0,
  entered: 0,
  retired: 0,
  dropped: 0,
}
