/** reports: turns events into TAP or a terminal page; nothing else prints. */
export * from './events.ts'
