/** What starts a worker, or becomes an image that runs guests: the image has it in a file of its own, which the command begins with. */
export * from './guests.ts'
export * from './image.ts'
export * from './processes.ts'
export * from './start.ts'
