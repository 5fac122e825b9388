public class Main {
    public static void main(String[] args) {
        System.out.println("žluťoučký kůň, 日本語, 🚀");
    }
}
