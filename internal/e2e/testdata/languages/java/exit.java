void main() {
    System.err.println("leaving");
    System.exit(7);
}
