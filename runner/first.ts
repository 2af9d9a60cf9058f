/** What starts a worker: the image has it in a file of its own, which the command begins with. */
export * from './image.ts'
export * from './processes.ts'
export * from './start.ts'
